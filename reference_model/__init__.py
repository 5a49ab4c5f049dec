"""The reference model: a captioned world, a two-stage text-to-video diffusion model, its encoders and its judge."""
