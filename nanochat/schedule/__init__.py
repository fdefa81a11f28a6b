"""Studies by the clock: which window is due, a study kept within it, and the service that starts them."""
