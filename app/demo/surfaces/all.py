"""Every surface beside chat, over one intake."""

from app.demo.answers import Writer
from app.demo.faults import FaultScripts
from app.demo.routes import Route, Router
from app.demo.surfaces.batches import Batches
from app.demo.surfaces.cohere import Cohere
from app.demo.surfaces.completions import Completions
from app.demo.surfaces.containers import Containers
from app.demo.surfaces.conversations import Conversations
from app.demo.surfaces.embeddings import Embeddings
from app.demo.surfaces.files import Files
from app.demo.surfaces.gemini_embeddings import GeminiEmbeddings
from app.demo.surfaces.intake import Intake
from app.demo.surfaces.moderations import Moderations
from app.demo.surfaces.rerank import Rerank
from app.demo.surfaces.transcriptions import Transcriptions
from app.demo.surfaces.uploads import Uploads
from app.demo.surfaces.vector_stores import VectorStores

STATELESS = (Completions, Embeddings, Moderations, Rerank, Transcriptions, Cohere, GeminiEmbeddings)


def surface_routes(writer: Writer, scripts: FaultScripts, router: Router) -> list[Route]:
    """Their routes; `router` is what batches find the endpoints of their lines in."""
    intake = Intake(writer, scripts)
    files = Files(intake)
    surfaces = (
        *(surface(intake) for surface in STATELESS),
        files,
        Uploads(intake, files),
        Batches(intake, files, router),
        VectorStores(intake, files),
        Conversations(intake),
        Containers(intake, files),
    )
    return [route for surface in surfaces for route in surface.routes()]
