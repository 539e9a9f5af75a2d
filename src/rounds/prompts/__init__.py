"""Professional templates by kind of question, and the reader of replies."""
