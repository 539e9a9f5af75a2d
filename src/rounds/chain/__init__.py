"""What composes the rooms: the stages of a run, their order, the report and the passport."""
