"""Tables and pictures of trials and studies."""
