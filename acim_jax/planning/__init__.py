"""What a run needs of its devices, computed and compiled without a device."""
