"""What a run needs of its devices, computed and compiled before there is a device."""
