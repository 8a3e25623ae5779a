"""Many runs: suites, their plan, worker processes, the comparison that a report is drawn from, and tuning.

Above runs and reports, below the command line.
"""
