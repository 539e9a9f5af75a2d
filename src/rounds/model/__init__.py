"""Checkpoints in Hugging Face layout, tiny backbones, chat formats and the tokenizer."""
