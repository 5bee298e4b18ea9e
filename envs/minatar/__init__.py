"""The five games of MinAtar (Young & Tian 2019), written anew from their rules."""
