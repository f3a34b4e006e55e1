"""キューのワーカーの設定。長い仕事が終わる前に、引き取りが始まります。"""

# --8<-- [start:idle]
from examples.background_task_loss.tasks import broker

broker.idle_timeout = 500  # ミリ秒。2 秒かかる仕事より短い
# --8<-- [end:idle]
