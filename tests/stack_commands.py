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
    name: f"docker compose -f {FILES[name]} {profile}down --volumes --rmi local"
    for name, profile in {
        "dev": "",
        "stg": "--profile proxy ",  # without it the proxy, if it runs, is left alone
        "prod": "--profile proxy ",
    }.items()
}
TWO_WORKERS = f"DEV_WORKERS=2 {UP['dev']}"
PROXY = "docker compose -f docker-compose.prod.yml --profile proxy up --detach --wait"
TYPED = {*UP.values(), *DOWN.values(), TWO_WORKERS, PROXY, *swarm.TYPED}
