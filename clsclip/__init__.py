"""ClsCLIP in PyTorch: towers, model, training, evaluation."""
