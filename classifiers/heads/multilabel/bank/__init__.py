"""The head of kind `bank`: it combines what it learned about some labels with a bank of labels the encoder knows."""
