"""What RVC2 and RVC3 share: OpenVINO's representation, and services that compile it."""
