"""Black-box attacks: what a released model's answers on crops tell about the contents of patches.

The adversary queries the final model on crops that show a patch, knows both contents of every slot
and the whole recipe of training, but no coin; some train reference models of their own. The module
`collecting` asks, `references` trains what they need.
"""
