"""The run time of a Graph: steps, the plan that runs them, the thread pool. No operation and no dtype is known here."""
