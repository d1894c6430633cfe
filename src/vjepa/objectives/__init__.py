"""What training minimises: the losses of the papers, with the masks and the target encoder that they need.

masks               which tubelets the encoder keeps and which the predictor fills
ema                 the target encoder, a moving average of the trained one
masked_prediction   the pretraining loss (equation 1)
dense               the loss of V-JEPA 2.1 at the places that the encoder saw
action_conditioned  teacher forcing and rollout losses of the action-conditioned predictor (equations 2 to 4)
"""
