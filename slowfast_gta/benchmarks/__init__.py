"""How fast and how costly: networks, the reading of videos, processes; the papers' complexity tables."""
