"""Around the subject: shots, surroundings, objects, light and colours."""
