"""What routes share: the door of a request, resources, file streams. Knows no route itself."""
