"""Responders: OpenAI-compatible endpoints, OpenVINO GenAI on the CPU, transformers as the reference."""
