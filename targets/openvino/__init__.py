"""Code that RVC2 and RVC3 share: OpenVINO's representation, and tools and services that compile it."""
