"""Tiny checkpoints of real pipeline classes, with random weights, saved as any pipeline is saved."""

from __future__ import annotations

from pathlib import Path

import torch


def text_to_video(folder: Path) -> Path:
    """A `CogVideoXPipeline` of a few thousand weights, with its 3-D autoencoder: clips of 9 frames of 16x16 pixels."""
    from diffusers import (
        AutoencoderKLCogVideoX,
        CogVideoXDDIMScheduler,
        CogVideoXPipeline,
        CogVideoXTransformer3DModel,
    )
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

    torch.manual_seed(0)
    vocabulary = {
        word: number
        for number, word in enumerate(["<pad>", "</s>", "<unk>", "a", "red", "blue", "ball", "square"])
    }
    words = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=16
    )
    text = T5EncoderModel(
        T5Config(
            vocab_size=len(vocabulary),
            d_model=32,
            d_kv=8,
            d_ff=16,
            num_layers=1,
            num_heads=4,
            is_encoder_decoder=False,
        )
    )
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=4,
        attention_head_dim=8,
        in_channels=4,
        out_channels=4,
        time_embed_dim=2,
        text_embed_dim=32,
        num_layers=1,
        sample_width=2,
        sample_height=2,
        sample_frames=9,
        patch_size=2,
        temporal_compression_ratio=4,
        max_text_seq_length=16,
    )
    vae = AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        temporal_compression_ratio=4,
    )
    CogVideoXPipeline(
        tokenizer=tokenizer,
        text_encoder=text,
        vae=vae,
        transformer=transformer,
        scheduler=CogVideoXDDIMScheduler(),
    ).save_pretrained(folder, safe_serialization=True)
    return folder


def image_to_video(folder: Path) -> Path:
    """A `StableVideoDiffusionPipeline`: needs an image and takes no text."""
    from diffusers import (
        AutoencoderKLTemporalDecoder,
        EulerDiscreteScheduler,
        StableVideoDiffusionPipeline,
        UNetSpatioTemporalConditionModel,
    )
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    unet = UNetSpatioTemporalConditionModel(
        block_out_channels=(32, 32),
        layers_per_block=1,
        sample_size=16,
        in_channels=8,
        out_channels=4,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        cross_attention_dim=8,
        num_attention_heads=(2, 2),
        projection_class_embeddings_input_dim=24,
        addition_time_embed_dim=8,
    )
    vae = AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32),
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        latent_channels=4,
        layers_per_block=1,
        sample_size=32,
    )
    vision = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=8,
            intermediate_size=8,
            projection_dim=8,
            num_attention_heads=2,
            num_hidden_layers=1,
            image_size=224,
            patch_size=56,
        )
    )
    pipeline = StableVideoDiffusionPipeline(
        vae=vae,
        image_encoder=vision,
        unet=unet,
        scheduler=EulerDiscreteScheduler(
            beta_schedule="scaled_linear",
            prediction_type="v_prediction",
            timestep_type="continuous",
            use_karras_sigmas=True,
        ),
        feature_extractor=CLIPImageProcessor(),
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder
