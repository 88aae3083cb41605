"""One EM iteration: the paper's loop."""
