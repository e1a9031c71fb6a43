"""TensorRT engines on disk: which flavour of TensorRT is here, how engines are named, and which one fits a machine."""
