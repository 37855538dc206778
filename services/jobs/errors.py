"""What can go wrong in a job on a Ray cluster. Standard library only: the command line imports it at every start."""


class ClusterProblem(RuntimeError):
    """A Ray cluster cannot do the job, for a reason that a user can mend."""


class NoCluster(ClusterProblem):
    """No cluster answers at the address."""


class NoWorkerFits(ClusterProblem):
    """No node of the cluster is large enough for one worker."""


class WorkerFailed(RuntimeError):
    """A worker on a Ray cluster could not do its part, for a reason that a user can mend."""
