"""What every room needs: configuration, devices, files."""
