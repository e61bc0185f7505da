"""Neural nets that know nothing of speech corpora: quantizer, tokenizer, discriminator, balancer."""
