"""What a pack in training needs: as many `lanes` as are fast, trained states that outlive its process, an eye on hangs.

`sweeps.trial` is the pack itself.
"""
