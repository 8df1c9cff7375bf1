"""Learning rates that carry over width, batch size and length: from small trainings to large ones."""
