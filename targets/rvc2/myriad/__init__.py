"""OpenVINO 2022.2's MYRIAD compiler: the toolchain, its process, its image."""
