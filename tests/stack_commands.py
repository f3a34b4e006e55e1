"""The commands on the stacks that README and pages show; tests/stacks types every one."""

from tools import swarm

FILES = {name: f"docker-compose.{name}.yml" for name in ("dev", "stg", "prod")}
UP = {
    "dev": "docker compose -f docker-compose.dev.yml up --build --detach --wait",
    **{
        name: f"sh tools/docker/secrets.sh {name} && "
        f"docker compose -f docker-compose.{name}.yml up --build --detach --wait"
        for name in ("stg", "prod")
    },
}
DOWN = {
    name: f"docker compose -f {FILES[name]} {profiles}down --volumes --rmi local"
    for name, profiles in {
        "dev": "",
        "stg": '--profile "*" ',  # without it what a profile has started is left alone
        "prod": '--profile "*" ',
    }.items()
}
TWO_WORKERS = f"DEV_WORKERS=2 {UP['dev']}"
PROXY = "docker compose -f docker-compose.prod.yml --profile proxy up --detach --wait"
MONITORING = "docker compose -f docker-compose.prod.yml --profile monitoring up --detach --wait"
PROMTOOL = "docker compose -f docker-compose.prod.yml exec prometheus promtool"
CHECK_CONFIG = f"{PROMTOOL} check config /etc/prometheus/prometheus.yml"
TEST_RULES = f"{PROMTOOL} test rules /etc/prometheus/alerts_test.yml"
TYPED = {
    *(*UP.values(), *DOWN.values(), TWO_WORKERS, PROXY),
    *(MONITORING, CHECK_CONFIG, TEST_RULES),
    *swarm.TYPED,
}
