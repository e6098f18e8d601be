"""From nodes to steps, without running anything: fusion, memory plan, choice of a layout."""
