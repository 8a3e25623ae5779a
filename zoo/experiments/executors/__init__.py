"""Where jobs run: in processes of this machine, on a cluster through submitit, or on a Ray cluster.

Three files behind one protocol, `zoo.experiments.executors.executor.Executor`; the jobs know nothing of it.
"""
