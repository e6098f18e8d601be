"""What runs the steps of a Graph: steps, plans, the thread pool. It knows no operation and no dtype."""
