"""The servers that an experiment can be played on, by the name that ``--server`` takes."""

from workerlab.gunicorn import GunicornAsgiCluster, GunicornUvicornCluster
from workerlab.processes import ProcessCluster
from workerlab.uvicorn import UvicornCluster

SERVERS: dict[str, type[ProcessCluster]] = {
    cluster.name: cluster
    for cluster in (UvicornCluster, GunicornAsgiCluster, GunicornUvicornCluster)
}
