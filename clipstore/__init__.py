"""The library behind the stages, in rooms; docs/decisions/0014 has the floor plan."""
