"""Class weights in other people's training loops: Lightning and Hugging Face's Trainer. Each imports its library."""
