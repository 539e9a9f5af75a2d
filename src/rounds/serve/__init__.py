"""The ward: an OpenAI-compatible API and a page over one Responder, and what may be claimed of the model behind it."""
