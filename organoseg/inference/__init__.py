"""From images to Instances with a trained model: one image, or whole folders."""
