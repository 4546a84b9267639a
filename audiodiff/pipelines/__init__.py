"""What the commands do: resynthesis, vocoding, generation, restoration, and the recipe beside each sound."""
