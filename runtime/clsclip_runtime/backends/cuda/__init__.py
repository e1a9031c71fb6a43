"""CUDA: the driver, calls of the runtime, and arrays that stay on the device."""
