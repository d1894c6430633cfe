"""What training minimises: masks, the averaged target encoder, and the losses of the papers."""
