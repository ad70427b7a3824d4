"""Headers of instances, series and studies: what rows keep and what reading protocols may ask, without pixels."""
