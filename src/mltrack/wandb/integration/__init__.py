"""wandb's callbacks for libraries, by its names; each module is imported only by who asks for it."""
