"""How rows get through torch: cut into passes, brought to the device and back, on one device or several."""
