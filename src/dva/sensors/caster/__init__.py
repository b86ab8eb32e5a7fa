"""A ray caster of our own for scenes of plain shapes."""
