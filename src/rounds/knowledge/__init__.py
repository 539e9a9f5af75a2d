"""The embedded knowledge base: conditions, findings, synonyms, ICD-10 codes, red flags."""
