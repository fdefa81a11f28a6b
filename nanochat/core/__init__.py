"""What every other package stands on: Specs, errors, artifacts, provenance, devices, composition."""
