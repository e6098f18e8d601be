"""Lowering: from nodes to steps, without running any. Fusion, memory plan, choice of a layout."""
